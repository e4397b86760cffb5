"""Headless Chromium for tests of reports, and what must hold of every report in it."""

import json
import shutil
import subprocess
import threading

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


SIZES = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]


class Browser:
    """Headless Chromium, spoken to in its DevTools protocol through pipes."""

    def __init__(self, folder):
        options = [
            "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
            "--disable-background-networking", "--disable-component-update", "--disable-sync",
            "--hide-scrollbars", f"--user-data-dir={folder}", "--remote-debugging-pipe",
        ]  # fmt: skip
        # the protocol wants file descriptors 3 and 4
        as_descriptors = 'exec "$0" "$@" 3<&0 4>&1 0</dev/null 1>/dev/null'
        self.process = subprocess.Popen(
            ["sh", "-c", as_descriptors, CHROMIUM, *options],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.watchdog = threading.Timer(300, self.process.kill)
        self.watchdog.start()
        self.events, self.number, self.session = [], 0, {}
        target = self("Target.createTarget", url="about:blank")["targetId"]
        attached = self("Target.attachToTarget", targetId=target, flatten=True)
        self.session = {"sessionId": attached["sessionId"]}
        for domain in ("Page", "Network", "Runtime", "Log"):
            self(f"{domain}.enable")

    def __call__(self, method, **params):
        """Call a method of the protocol; its result."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params, **self.session}
        self.process.stdin.write(json.dumps(message).encode() + b"\0")
        self.process.stdin.flush()
        while (answer := self._read()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, (method, answer)
        return answer["result"]

    def _read(self):
        told = bytearray()
        while (byte := self.process.stdout.read(1)) != b"\0":
            assert byte, "Chromium has ended"
            told += byte
        return json.loads(told)

    def open(self, address, width, scheme):
        """Load a page anew in a window of that width, in the light or the dark scheme."""
        self("Page.navigate", url="about:blank")
        size = {"width": width, "height": 800, "deviceScaleFactor": 1}
        self("Emulation.setDeviceMetricsOverride", **size, mobile=width < 600)
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self("Emulation.setEmulatedMedia", features=[feature])
        self.events.clear()
        self("Page.navigate", url=address)
        self.js("new Promise(done => document.readyState == 'complete' ? done() : onload = done)")

    def js(self, expression):
        """The value of an expression in the page."""
        options = {"awaitPromise": True, "returnByValue": True}
        told = self("Runtime.evaluate", expression=expression, **options)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def happened(self, *methods):
        return [event["params"] for event in self.events if event["method"] in methods]

    def close(self):
        self.process.kill()
        self.process.wait()
        self.watchdog.cancel()


# every element with text of its own, with the contrast to the nearest opaque background
CONTRASTS = """(() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => parts(colour).slice(0, 3).map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const back = (node) => {
    for (; node; node = node.parentElement) {
      const colour = getComputedStyle(node).backgroundColor;
      if (parts(colour)[3] !== 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const own = [...document.body.querySelectorAll("*:not(script)")].filter(
    n => [...n.childNodes].some(c => c.nodeType == 3 && c.data.trim()));
  return own.map(n => {
    const [a, b] = [light(getComputedStyle(n).color), light(back(n))];
    return [n.tagName + "." + n.className,
            (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
  });
})()"""


def faults(browser, report, width, scheme):
    """What is wrong with a report in a window: requests, errors, images, width, contrast."""
    browser.open(report.as_uri(), width, scheme)
    asked = [e["request"]["url"] for e in browser.happened("Network.requestWillBeSent")]
    found = [f"asks for {url}" for url in asked if not url.startswith(("data:", report.as_uri()))]
    for kind in ("Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"):
        found += [f"{kind}: {event}" for event in browser.happened(kind)]
    unfold = "document.querySelectorAll('main details').forEach(d => d.open = true)"
    for state in ("folded", "unfolded"):
        if not browser.js("document.documentElement.scrollWidth <= innerWidth"):
            found.append(f"scrolls sideways at {width} pixels, {state}")
        browser.js(unfold)
    browser.js("Promise.all([...document.images].map(image => image.decode()))")
    if not browser.js("[...document.images].every(image => image.naturalWidth > 0)"):
        found.append("an image was not decoded")
    contrasts = browser.js(CONTRASTS)
    found += [f"{name} has contrast {ratio:.1f}" for name, ratio in contrasts if ratio < 4.5]
    return found + ([] if len(contrasts) > 100 else ["hardly any text"])
