import json

with open("/contracts/greeting.json", encoding="utf-8") as file:
    print("worker:", json.load(file)["greeting"])
