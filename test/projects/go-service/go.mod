module own.example/service

go 1.19

require own.example/words v1.0.0
