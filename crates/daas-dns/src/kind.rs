//! Types of records, operations and answers, by number and by name.

use std::fmt;

/// A type of records (RFC 1035 section 3.2.2 and IANA's registry).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RrType(pub u16);

macro_rules! types {
    ($($name:ident $number:literal $doc:literal;)*) => {
        impl RrType {
            $(#[doc = $doc] pub const $name: Self = Self($number);)*
        }

        /// Names that the registry of IANA gives.
        const NAMED: &[(&str, RrType)] = &[$((stringify!($name), RrType::$name),)*];
    };
}

types! {
    A 1 "An IPv4 address.";
    NS 2 "A name server.";
    CNAME 5 "The name that this name stands for.";
    SOA 6 "The start of a zone.";
    PTR 12 "The name of an address.";
    MX 15 "A mail exchanger.";
    TXT 16 "Texts.";
    AAAA 28 "An IPv6 address.";
    SRV 33 "Where a service is (RFC 2782).";
    NAPTR 35 "A rule of rewriting (RFC 3403).";
    DNAME 39 "The tree that this tree stands for (RFC 6672).";
    OPT 41 "The options of EDNS (RFC 6891).";
    DS 43 "The digest of a delegated zone's key (RFC 4034).";
    SSHFP 44 "The fingerprint of a host's key (RFC 4255).";
    RRSIG 46 "A signature (RFC 4034).";
    NSEC 47 "What is not there (RFC 4034).";
    DNSKEY 48 "A zone's key (RFC 4034).";
    NSEC3 50 "What is not there, by hashes (RFC 5155).";
    NSEC3PARAM 51 "How NSEC3 hashes (RFC 5155).";
    TLSA 52 "Which certificate a server shows (RFC 6698).";
    CDS 59 "The digest that the parent should have (RFC 7344).";
    CDNSKEY 60 "The key that the parent should have a digest of (RFC 7344).";
    SVCB 64 "How a service is reached (RFC 9460).";
    HTTPS 65 "How a web server is reached (RFC 9460).";
    TKEY 249 "The making of a shared key.";
    TSIG 250 "A signature by a shared key (RFC 8945).";
    IXFR 251 "A transfer of differences (RFC 1995).";
    AXFR 252 "A transfer of a zone (RFC 5936).";
    ANY 255 "Whatever is there.";
    CAA 257 "Who may issue certificates (RFC 8659).";
}

impl RrType {
    /// Parses the registry's name of a type, or `TYPE123` (RFC 3597 section 5).
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let upper = text.to_ascii_uppercase();
        NAMED
            .iter()
            .find(|(name, _)| *name == upper)
            .map(|(_, kind)| *kind)
            .or_else(|| upper.strip_prefix("TYPE")?.parse().ok().map(Self))
    }

    /// Tells whether it is a type of questions only or one of the machinery, which no zone holds (RFC 6895 section 3.1).
    #[must_use]
    pub fn is_meta(self) -> bool {
        self == Self::OPT || self.0 == 0 || (128..=255).contains(&self.0)
    }

    /// Tells whether it is made by the signing of a zone, not by people.
    #[must_use]
    pub fn is_of_signing(self) -> bool {
        matches!(
            self,
            Self::RRSIG | Self::NSEC | Self::NSEC3 | Self::NSEC3PARAM
        )
    }
}

impl fmt::Display for RrType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMED.iter().find(|(_, kind)| kind == self) {
            Some((name, _)) => f.pad(name),
            None => f.pad(&format!("TYPE{}", self.0)),
        }
    }
}

/// The code of an answer (RFC 1035 section 4.1.1, RFC 2136 section 2.2, RFC 6891 section 9, RFC 8945 section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Rcode(pub(crate) u16);

impl Rcode {
    pub(crate) const NO_ERROR: Self = Self(0);
    pub(crate) const FORM_ERR: Self = Self(1);
    pub(crate) const SERV_FAIL: Self = Self(2);
    pub(crate) const NX_DOMAIN: Self = Self(3);
    pub(crate) const NOT_IMP: Self = Self(4);
    pub(crate) const REFUSED: Self = Self(5);
    pub(crate) const YX_DOMAIN: Self = Self(6);
    pub(crate) const YX_RRSET: Self = Self(7);
    pub(crate) const NX_RRSET: Self = Self(8);
    pub(crate) const NOT_AUTH: Self = Self(9);
    pub(crate) const NOT_ZONE: Self = Self(10);
    pub(crate) const BAD_VERS: Self = Self(16);
}

/// Operations of a message (RFC 6895 section 2.2).
pub(crate) mod opcode {
    pub(crate) const QUERY: u8 = 0;
    pub(crate) const NOTIFY: u8 = 4;
    pub(crate) const UPDATE: u8 = 5;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_and_shown_by_name_or_number() {
        assert_eq!(RrType::parse("aaaa"), Some(RrType::AAAA));
        assert_eq!(RrType::parse("TYPE65280"), Some(RrType(65280)));
        assert_eq!(RrType(65280).to_string(), "TYPE65280");
        assert_eq!(RrType::CAA.to_string(), "CAA");
        assert_eq!(RrType::parse("nonsense"), None);
        assert!(RrType::AXFR.is_meta() && !RrType::CAA.is_meta());
    }
}
