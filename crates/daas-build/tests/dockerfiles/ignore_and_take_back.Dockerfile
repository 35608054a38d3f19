FROM base:1
COPY . /ctx/
#: ignore *
#: ignore !dir
#: ignore !docs/**/*.md
#: ignore dir/x
#: ignore docs/deep/secret.md
#: old /ctx/docs the old client does not enter a folder for a pattern with `**` that takes back
