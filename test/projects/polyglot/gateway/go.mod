module own.example/gateway

go 1.19
