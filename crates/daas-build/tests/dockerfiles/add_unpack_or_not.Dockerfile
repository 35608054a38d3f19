FROM base:1
ADD --unpack=false archives/plain.tar /packed/
ADD --unpack=true archives/plain.tar /unpacked/
#: tree 0755 0:0 /packed dir
#: tree 0644 0:0 /packed/plain.tar *
#: tree 0755 0:0 /unpacked dir
#: tree 0755 0:0 /unpacked/in dir
#: tree 0640 0:0 /unpacked/in/file "in the archive\n"
#: tree 0777 0:0 /unpacked/in/link -> file
