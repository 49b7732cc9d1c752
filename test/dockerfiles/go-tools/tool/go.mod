module own.example/tool
