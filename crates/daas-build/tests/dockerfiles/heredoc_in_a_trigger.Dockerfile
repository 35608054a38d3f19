FROM base:1 AS parent
ONBUILD RUN <<EOF
echo fired > /fired
EOF
FROM parent
#: tree 0644 0:0 /fired "fired\n"
