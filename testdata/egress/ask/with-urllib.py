"""Gets each URL that a line of the standard input has, and says when that is over, whatever came of it."""
import sys
import urllib.request

for url in sys.stdin:
    try:
        urllib.request.urlopen(url.strip(), timeout=3)
    except OSError:
        pass
    print("over", flush=True)
