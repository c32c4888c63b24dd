"""Holds answers of the API against its OpenAPI document: each is of a documented status and fits that status' schema.

Usage: openapi_answers.py DOCUMENT ANSWERS. ANSWERS is a JSON array of objects with method, path (as documented), status, body.
It asks nobody; run by the Python of the environment that tests/openapi.sh makes.
"""

import json
import sys

from jsonschema import Draft202012Validator, FormatChecker


def pointer(*parts):
    return "#" + "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def faults(document, answer):
    method, path, status = answer["method"].lower(), answer["path"], str(answer["status"])
    responses = document["paths"][path][method]["responses"]
    if status in responses:
        place = ("paths", path, method, "responses", status, "content", "application/json", "schema")
    else:
        place = ("components", "responses", "Problem", "content", "application/problem+json", "schema")
    # The document is the root, so that its references lead somewhere; JSON Schema passes over what it does not know in it.
    validator = Draft202012Validator({**document, "$ref": pointer(*place)}, format_checker=FormatChecker())
    if int(status) < 400 and status not in responses:
        yield f"{method} {path}: {status} is not documented"
    for error in validator.iter_errors(answer["body"]):
        yield f"{method} {path} {status}: {error.json_path}: {error.message}"


def main():
    document, answers = (json.load(open(name, encoding="utf-8")) for name in sys.argv[1:3])
    found = [fault for answer in answers for fault in faults(document, answer)]
    print("\n".join(found))
    sys.exit(1 if found or not answers else 0)


main()
