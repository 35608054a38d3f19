FROM base:1
ADD --chown=app:app archives/plain.tar /mine/
