"""Says something through the front door and waits until it comes back: `python3 say.py words`."""

import asyncio
import sys

import websockets


async def main(words):
    async with websockets.connect("ws://front/room") as first, websockets.connect("ws://front/room") as second:
        await first.send(words)
        print(await asyncio.wait_for(second.recv(), 5))


asyncio.run(main(" ".join(sys.argv[1:])))
