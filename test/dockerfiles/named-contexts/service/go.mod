module own.example/service
