FROM base:1
RUN --mount=type=secret,id=token,env=TOKEN echo "$TOKEN" > /got && test ! -e /run/secrets/token
#: secret token=s3cr3t
#: tree 0644 0:0 /got "s3cr3t\n"
