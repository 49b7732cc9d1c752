from flasklike import route


@route("/")
def app():
    return "hello"
