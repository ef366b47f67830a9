"""A client at 100 requests a second beside hundreds of slow ones: bench/slow.py PORT PATH REVIEW SECONDS.

Prints as JSON the milliseconds that each answer took, and how many requests failed. A program of its own, so that no
other work of the benchmark's shows in the figures.
"""

import asyncio
import json
import os
import ssl
import sys
import time

PORT, PATH, SECONDS = int(sys.argv[1]), sys.argv[2], float(sys.argv[4])
with open(sys.argv[3], "rb") as file:
    REVIEW = file.read()
UNTRUSTING = ssl._create_unverified_context()
EACH_KIND = 40
RATE = 100
# A ClientHello's record header and the first bytes of its body: more is to come.
HALF_A_HELLO = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


def head(length, query="?timeout=30s"):
    lines = (f"POST {PATH}{query} HTTP/1.1", "Host: localhost", "Content-Type: application/json", f"Content-Length: {length}")
    return "\r\n".join((*lines, "", "")).encode()


async def connect(tls=True):
    return await asyncio.open_connection("127.0.0.1", PORT, ssl=UNTRUSTING if tls else None)


async def trickle(writer, data):
    for byte in data:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.2)


async def slow_head():
    _, writer = await connect()
    await trickle(writer, head(len(REVIEW)))


async def slow_body():
    _, writer = await connect()
    writer.write(head(len(REVIEW)))
    await trickle(writer, REVIEW)


async def silent_body():
    reader, writer = await connect()
    writer.write(head(16 * 1024 * 1024))
    await reader.read()


async def slow_reader():
    """Asks and asks, and reads a byte now and then."""
    reader, writer = await connect()
    while True:
        writer.write(head(len(REVIEW)) + REVIEW)
        await reader.read(1)
        await asyncio.sleep(0.2)


async def idle():
    reader, _ = await connect()
    await reader.read()


async def half_a_handshake():
    reader, writer = await connect(tls=False)
    writer.write(HALF_A_HELLO)
    await reader.read()


async def no_handshake():
    reader, _ = await connect(tls=False)
    await reader.read()


async def again_and_again(client):
    """Whoever is cut comes back."""
    while True:
        try:
            await client()
        except OSError:
            await asyncio.sleep(0.1)


async def request(reader, writer):
    writer.write(head(len(REVIEW), "?timeout=5s") + REVIEW)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return answer.startswith(b"HTTP/1.1 200 ")


async def main():
    kinds = [slow_head, slow_body, silent_body, slow_reader, idle] * EACH_KIND
    kinds += [half_a_handshake, no_handshake] * (len(kinds) // 2)
    crowd = [asyncio.create_task(again_and_again(kind)) for kind in kinds]
    await asyncio.sleep(3)
    took, failed = [], 0
    connection = await connect()
    begun = time.monotonic()
    for turn in range(int(SECONDS * RATE)):
        await asyncio.sleep(max(0, begun + turn / RATE - time.monotonic()))
        asked = time.monotonic()
        try:
            failed += not await request(*connection)
        except (OSError, asyncio.IncompleteReadError):
            failed += 1
            connection = await connect()
        took.append((time.monotonic() - asked) * 1000)
    print(json.dumps({"took": took, "failed": failed, "crowd": len(crowd)}))
    os._exit(0)


asyncio.run(main())
