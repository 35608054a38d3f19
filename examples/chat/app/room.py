"""A room of the chat: what one says over its WebSocket, all hear, whichever replica they are connected to."""

import asyncio
import socket

import redis.asyncio as redis
import websockets

ME = socket.gethostname()
bus = redis.Redis(host="bus", decode_responses=True)
here = set()


async def hear():
    """Hands on what anybody said in any replica."""
    channel = bus.pubsub()
    await channel.subscribe("said")
    async for message in channel.listen():
        if message["type"] == "message":
            websockets.broadcast(here, message["data"])


async def visit(visitor):
    here.add(visitor)
    try:
        async for words in visitor:
            await bus.publish("said", f"{ME}: {words}")
    finally:
        here.discard(visitor)


async def main():
    async with websockets.serve(visit, "0.0.0.0", 8000):
        print(f"{ME} is open")
        await hear()


try:
    asyncio.run(main())
except KeyboardInterrupt:
    pass
