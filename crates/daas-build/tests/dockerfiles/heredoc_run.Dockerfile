FROM base:1
ENV X=x
RUN <<EOF
echo "$X" > /one
echo two > /two
EOF
RUN <<'EOF'
#!/bin/busybox sh
echo "$0" > /script
EOF
RUN cat <<A > /a && cat <<-"B" > /b
$X
A
	$X tab
	B
#: tree 0644 0:0 /one "x\n"
#: tree 0644 0:0 /two "two\n"
#: tree 0644 0:0 /script "/dev/pipes/EOF\n"
#: tree 0644 0:0 /a "x\n"
#: tree 0644 0:0 /b "$X tab\n"
