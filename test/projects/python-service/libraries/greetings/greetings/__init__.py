def greet(who):
    return f"hello from {who}"
