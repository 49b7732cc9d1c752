from greetings import greet

ROUTES = {"/": lambda: greet("python"), "/health": lambda: "ok"}


def show():
    print("\n".join(ROUTES))
