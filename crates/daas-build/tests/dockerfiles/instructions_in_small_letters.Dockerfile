from base:1 as build
run echo x > /x
copy a.txt /a
env A=b
