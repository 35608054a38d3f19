FROM base:1
ARG V=value
COPY <<EOF /etc/conf
v=$V "${V}"
EOF
COPY --chmod=0600 --chown=1000:50 <<-'one' <<two a.txt /many/
	raw $V
one
\$V is $V
two
ADD <<"EOF" /added
$V
EOF
#: tree 0644 0:0 /etc/conf "v=value \"value\"\n"
#: tree 0600 1000:50 /many dir
#: tree 0600 1000:50 /many/one "raw $V\n"
#: tree 0600 1000:50 /many/two "$V is value\n"
#: tree 0600 1000:50 /many/a.txt "a\n"
#: tree 0644 0:0 /added "$V\n"
