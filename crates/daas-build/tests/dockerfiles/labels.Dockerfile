FROM base:1
LABEL one=1 two="2 words" "three"=3
LABEL multi="a \
b" quoted='c "d"'
LABEL one=changed
