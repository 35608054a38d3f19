/// Where distributions keep the authorities of a machine: Debian and Alpine, Fedora, SUSE, `OpenSSL`'s own default.
pub const AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];
