module own.example/greeter

go 1.22

require own.example/words v0.3.0
