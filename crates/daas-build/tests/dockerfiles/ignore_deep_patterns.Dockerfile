FROM base:1
COPY . /ctx/
#: ignore **/*.md
#: ignore !docs/readme.md
#: ignore **/z
#: ignore d?r/y
#: ignore [ab].txt
