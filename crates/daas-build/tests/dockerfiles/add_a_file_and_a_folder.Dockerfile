FROM base:1
ADD a.txt /a
ADD dir /dir
ADD --chown=app:staff dir /owned
