run ->(path) { [200, "hello from ruby\n"] }
