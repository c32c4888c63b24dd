"""Pictures of the console's pages by Chromium, which is driven over its debugging pipe.

    LINK=<output of `sluice console --output json`> python3 screenshots.py DIRECTORY
"""

import base64
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

WIDTH, HEIGHT = 1280, 800
# A reader's connection may be slow.
MAX_BYTES = 120_000
QUALITIES = (90, 80, 70, 60, 50)
PATIENCE = 30.0

# Name of the picture, and address.
PAGES = (
    ("overview", "/console"),
    ("device", "/console/devices/sluice-demo/climate-7"),
    ("quarantine", "/console/quarantine?search=reason%3ASITE_MISMATCH_REGISTRY_VS_PAYLOAD+since%3A1h"),
    ("certificates", "/console/certificates"),
)


class Chromium:
    """A browser, and one page of it."""

    def __init__(self, directory):
        asks, self.ask = os.pipe()
        self.answer, answers = os.pipe()

        def wire():
            os.dup2(asks, 13)
            os.dup2(answers, 14)
            os.dup2(13, 3)
            os.dup2(14, 4)

        self.process = subprocess.Popen(
            ["chromium", "--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu",
             "--disable-dev-shm-usage", "--hide-scrollbars", "--no-first-run", "--disable-background-networking",
             f"--user-data-dir={directory}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            close_fds=False, preexec_fn=wire,
        )
        self.left, self.calls, self.session = b"", 0, None
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Page.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=WIDTH, height=HEIGHT, deviceScaleFactor=1, mobile=False)

    def call(self, method, **params):
        self.calls += 1
        message = {"id": self.calls, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.ask, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.left:
                read = os.read(self.answer, 1 << 20)
                if not read:
                    sys.exit("error: Chromium has ended")
                self.left += read
            one, self.left = self.left.split(b"\0", 1)
            answer = json.loads(one)
            if answer.get("id") == self.calls:
                if "error" in answer:
                    sys.exit(f"error: {method}: {answer['error']}")
                return answer["result"]

    def read(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return answer["result"].get("value")

    def wait(self, expression):
        end = time.monotonic() + PATIENCE
        while not self.read(expression):
            if time.monotonic() > end:
                sys.exit(f"error: the page shows no {expression}: {self.read('document.body.innerText')}")
            time.sleep(0.1)

    def open(self, url):
        self.read("window.isOld = true")
        self.call("Page.navigate", url=url)
        self.wait("window.isOld === undefined && document.readyState == 'complete'")
        status = self.read("performance.getEntriesByType('navigation')[0].responseStatus")
        if status != 200:
            sys.exit(f"error: {url} answers {status}")

    def picture(self, file):
        for quality in QUALITIES:
            data = self.call("Page.captureScreenshot", format="webp", quality=quality)["data"]
            picture = base64.b64decode(data)
            if len(picture) <= MAX_BYTES:
                file.write_bytes(picture)
                return len(picture)
        sys.exit(f"error: {file} is larger than {MAX_BYTES} bytes")

    def close(self):
        self.session = None
        self.call("Browser.close")
        self.process.wait()


def main():
    link, directory = json.loads(os.environ["LINK"])["url"], Path(sys.argv[1])
    origin = link.split("/console", 1)[0]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Chromium(profile)
        browser.open(link)
        browser.read("document.querySelector('main form button').click()")
        browser.wait("location.pathname == '/console' && document.readyState == 'complete'")
        for colours in ("light", "dark"):
            browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": colours}])
            for name, path in PAGES:
                browser.open(origin + path)
                # What a page loads by itself comes a moment later.
                browser.wait("document.querySelector('main h1') && !document.querySelector('.htmx-request')")
                time.sleep(1)
                file = directory / f"console-{name}-{colours}.webp"
                print(file.name, browser.picture(file))
        browser.close()


main()
