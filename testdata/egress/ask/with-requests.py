"""Gets each URL that a line of the standard input has, and says when that is over, whatever came of it."""
import sys

import requests

for url in sys.stdin:
    try:
        requests.get(url.strip(), timeout=3)
    except requests.RequestException:
        pass
    print("over", flush=True)
