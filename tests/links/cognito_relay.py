"""Cognito's identity service: moto, behind a relay that makes its credentials tell one from another.

moto gives each guest the same key, secret and token. The relay numbers the tokens and writes them with their end into
the file that sigv4_gate.py reads, so a signature with ended credentials is refused as AWS refuses it. It can shorten
the life of credentials, and refuse calls as the service documents its refusals.

It cannot show: roles and policies, and the throttling of the real service.

Prints one line of JSON for each call.
"""
import argparse
import email.utils
import itertools
import json
import os
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

parser = argparse.ArgumentParser()
parser.add_argument("--listen", type=int, required=True)
parser.add_argument("--moto", type=int, required=True)
parser.add_argument("--tokens", required=True, help="the file for sigv4_gate.py")
parser.add_argument("--life", type=float, help="seconds; without it moto's 90")
parser.add_argument("--refusal", help="a file: while it exists, `call type` in it is the refusal of that call")
parser.add_argument("--skew", type=float, default=0, help="seconds that the Date header is ahead")
options = parser.parse_args()
numbers = itertools.count(1)


def numbered(answer):
    """The answer of moto with a token of its own."""
    credentials = answer["Credentials"]
    credentials["SessionToken"] += f"/{next(numbers)}=="
    if options.life:
        credentials["Expiration"] = time.time() + options.life
    with open(options.tokens, "a") as file:
        file.write(f"{credentials['SessionToken']} {credentials['Expiration']}\n")
    return answer


class Relay(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        call = self.headers["X-Amz-Target"].split(".")[1]
        status, answer = self.refusal(call) or self.ask_moto(body)
        if status == 200 and call == "GetCredentialsForIdentity":
            answer = json.dumps(numbered(json.loads(answer))).encode()
        print(json.dumps({"call": call, "status": status, "body": json.loads(body)}), flush=True)
        self.send_response_only(status)
        self.send_header("Date", email.utils.formatdate(time.time() + options.skew, usegmt=True))
        # As moto has it: a client that insists on JSON fails here.
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def refusal(self, call):
        if not options.refusal or not os.path.exists(options.refusal):
            return None
        with open(options.refusal) as file:
            refused, kind = file.read().split()
        if refused != call:
            return None
        return 400, json.dumps({"__type": kind, "message": f"refused for the test: {kind}"}).encode()

    def ask_moto(self, body):
        names = ("X-Amz-Target", "Content-Type")
        headers = {name: self.headers[name] for name in names}
        request = urllib.request.Request(f"http://127.0.0.1:{options.moto}/", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        except OSError:
            # moto is away: the connection ends as it would.
            self.close_connection = True
            raise

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", options.listen), Relay)
print(json.dumps({"listening": options.listen}), flush=True)
server.serve_forever()
