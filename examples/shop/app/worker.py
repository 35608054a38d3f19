"""Takes orders from the queue and works them off. Any number of these may run."""

import signal
import socket
import sys

from doors import cache, database

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
me = socket.gethostname()
queue = cache()
print(f"{me} waits for orders")
while True:
    taken = queue.brpop("orders", timeout=5)
    if taken is None:
        continue
    order = int(taken[1])
    with database() as db, db.cursor() as cursor:
        cursor.execute(
            "UPDATE orders SET state = 'done', worker = %s, cents = pieces * (SELECT cents FROM products WHERE id = product)"
            " WHERE id = %s",
            [me, order],
        )
    print(f"{me} has done order {order}")
