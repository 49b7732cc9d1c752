import csv


def total(path):
    with open(path, newline="", encoding="utf-8") as file:
        return sum(int(row["count"]) for row in csv.DictReader(file))
