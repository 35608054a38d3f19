FROM base:1
ADD --chown=app:app archives/plain.tar /mine/
#: old /mine the classic builder leaves unpacked files to root
