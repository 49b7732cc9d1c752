import flasklike
