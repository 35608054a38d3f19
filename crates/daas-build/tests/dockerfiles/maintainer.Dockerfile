FROM base:1
MAINTAINER Ann Example <ann@example.invalid>
