"""Waits until a server answers 200; fails after a minute."""
import sys
import time
import urllib.error
import urllib.request

for _ in range(600):
    try:
        with urllib.request.urlopen(sys.argv[1], timeout=5) as answer:
            if answer.status == 200:
                sys.exit(0)
    except (urllib.error.URLError, OSError):
        pass
    time.sleep(0.1)
sys.exit("not ready: " + sys.argv[1])
