FROM base:1
COPY . /ctx/
#: ignore *
#: ignore !dir
#: ignore !docs/**/*.md
#: ignore dir/x
#: ignore docs/deep/secret.md
