FROM base:1
ENTRYPOINT exec "$0" $HOME
CMD echo "quoted"  two
