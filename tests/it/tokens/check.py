"""Checks a token with PyJWT, which is not ours: check.py PUBLIC_KEY TOKEN_FILE AUDIENCE

Writes its header and its claims to standard output, or fails.
"""

import json
import pathlib
import sys

import jwt

key, token, audience = pathlib.Path(sys.argv[1]).read_bytes(), pathlib.Path(sys.argv[2]).read_text(), sys.argv[3]
# A token lives for seconds in the tests and may be looked at later; they look at exp themselves.
needed = {"verify_exp": False, "require": ["iss", "sub", "aud", "exp", "nbf", "iat"]}
claims = jwt.decode(token, key, algorithms=["RS256"], audience=audience, options=needed)
json.dump({"header": jwt.get_unverified_header(token), "claims": claims}, sys.stdout)
