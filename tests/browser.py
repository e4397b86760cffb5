"""Chromium by playwright for tests of reports, and what must hold of every report in it."""

import contextlib
import shutil

import pytest

SIZES = [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")]

# what axe finds, where axe-playwright-python is installed, has these three and more
OWN_CHECKS = """() => {
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
  const all = (selector) => [...document.body.querySelectorAll(selector)];
  const pale = all("*:not(script, style)").filter(n => {
    if (![...n.childNodes].some(c => c.nodeType == 3 && c.data.trim())) return false;
    const [a, b] = [light(getComputedStyle(n).color), light(back(n))];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05) < 4.5;
  });
  const unnamed = all("img:not([alt]), img[alt=''], input:not([aria-label])").concat(
    all("a, button, summary").filter(n => !n.textContent.trim()));
  const levels = all("h1, h2, h3, h4, h5, h6").map(n => +n.localName[1]);
  const jumps = levels.filter((level, i) => level > (levels[i - 1] ?? 0) + 1);
  return [...pale.map(n => `pale: ${n.outerHTML.slice(0, 90)}`),
          ...unnamed.map(n => `no name: ${n.outerHTML.slice(0, 90)}`),
          ...jumps.map(level => `a heading of level ${level} follows a much higher one`)];
}"""


@contextlib.contextmanager
def launched():
    """A headless Chromium of this machine; skips the test where there is none."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on the PATH: the report is not tried in a browser")
    with playwright.sync_playwright() as driver:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = driver.chromium.launch(executable_path=chromium, args=options)
        yield browser
        browser.close()


def opened(browser, report, width=1280, scheme="light", listen=lambda page: None):
    """A new page with a report, in a window of that width, in the light or the dark scheme."""
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    listen(page)
    page.goto(report.as_uri())
    return page


def faults(browser, report, width, scheme):
    """What is wrong with a report in a window: requests, errors, images, width, accessibility."""
    found, asked = [], []

    def listen(page):
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: found.append(message.text))
        page.on("pageerror", lambda error: found.append(str(error)))

    page = opened(browser, report, width, scheme, listen)
    for state in ("folded", "unfolded"):
        if not page.evaluate("document.documentElement.scrollWidth <= innerWidth"):
            found.append(f"scrolls sideways at {width} pixels, {state}")
        page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    page.evaluate("Promise.all([...document.images].map(image => image.decode()))")
    found += [f"asks for {url}" for url in asked if not url.startswith(("data:", report.as_uri()))]
    found += page.evaluate(OWN_CHECKS)
    with contextlib.suppress(ImportError):
        from axe_playwright_python.sync_playwright import Axe

        violations = Axe().run(page).response["violations"]
        found += [
            f"{each['impact']}: {each['help']}: {each['nodes'][0]['html'][:200]}"
            for each in violations
            if each["impact"] in ("serious", "critical")
        ]
    page.close()
    return found
