//! Which addresses may be connected to. Judged on every address a name resolves to, after resolving and before
//! anything is sent, so that neither a decimal spelling nor a rebinding name server gets around it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

/// Which addresses a connection may go to.
///
/// Addresses where clouds hand out credentials are refused by either set of rules, in their mapped, translated and
/// tunnelled forms too (OWASP ASVS 5.0, 13.2.4 and 13.2.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressRules {
    reach: Reach,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Reach {
    Any,
    PublicOnly,
}

impl AddressRules {
    /// For targets that come from the operator's configuration and from nowhere else: loopback and private networks
    /// are allowed, that is where databases live.
    pub const fn configured() -> Self {
        Self { reach: Reach::Any }
    }

    /// For targets that others may have a say in: only globally reachable unicast addresses. Loopback, private,
    /// shared (RFC 6598), link-local, unique-local, documentation, multicast and reserved ranges are refused, and so
    /// is every IPv6 form that carries an IPv4 address within it.
    pub const fn public_only() -> Self {
        Self { reach: Reach::PublicOnly }
    }

    /// Judges one address.
    ///
    /// ```
    /// use wellkept_net::{AddressRules, Blocked};
    ///
    /// let rules = AddressRules::configured();
    /// assert!(rules.judge([10, 0, 0, 7].into()).is_ok());
    /// assert_eq!(rules.judge([169, 254, 169, 254].into()), Err(Blocked::Metadata));
    /// assert_eq!(AddressRules::public_only().judge([10, 0, 0, 7].into()), Err(Blocked::NotPublic));
    /// ```
    pub fn judge(self, address: IpAddr) -> Result<(), Blocked> {
        if is_metadata(address) {
            return Err(Blocked::Metadata);
        }
        match self.reach {
            Reach::Any => Ok(()),
            Reach::PublicOnly if is_public(address) => Ok(()),
            Reach::PublicOnly => Err(Blocked::NotPublic),
        }
    }
}

/// Why an address may not be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
#[non_exhaustive]
pub enum Blocked {
    /// It is a cloud's metadata service, which hands out credentials.
    #[error("a cloud metadata address is never connected to")]
    Metadata,
    /// It is not a globally reachable unicast address, and only those are allowed here.
    #[error("only public addresses are allowed")]
    NotPublic,
}

/// AWS, GCP, Azure and others; ECS tasks; EKS pods; Alibaba; Oracle.
const METADATA_V4: [Ipv4Addr; 5] = [
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];

/// AWS, EKS pod credentials, GCP.
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

fn is_metadata(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => METADATA_V4.contains(&address),
        IpAddr::V6(address) => {
            METADATA_V6.contains(&address) || carried(address).is_some_and(|inner| METADATA_V4.contains(&inner))
        }
    }
}

/// The IPv4 address that packets to this IPv6 address end at, where the form says so: mapped and compatible
/// (RFC 4291), NAT64 (RFC 6052, and the /48 of RFC 8215 in its /96 form), 6to4 (RFC 3056), and Teredo's client
/// (RFC 4380).
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let joined = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x64, 0xff9b, 1, _, _, _, high, low]
        | [0x2002, high, low, ..] => Some(joined(high, low)),
        [0x2001, 0, _, _, _, _, high, low] => Some(joined(!high, !low)),
        _ => None,
    }
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// Everything that the IANA special-purpose registry does not call globally reachable is out, and multicast.
fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0 | 10 | 127 | 224..=255, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [192, 168, ..]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
    )
}

/// Global unicast is `2000::/3`; within it the protocol assignments (`2001::/23`, Teredo among them), the documentation
/// ranges and 6to4 are out. Mapped and translated forms lie outside of it.
fn is_public_v6(address: Ipv6Addr) -> bool {
    match address.segments() {
        [0x2001, 0..=0x01ff | 0x0db8, ..] | [0x2002, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn judge(rules: AddressRules, text: &str) -> Result<(), Blocked> {
        rules.judge(text.parse().unwrap())
    }

    #[test]
    fn metadata_is_blocked_in_every_spelling_by_both_rules() {
        for text in [
            "169.254.169.254",
            "169.254.170.2",
            "100.100.100.200",
            "192.0.0.192",
            "fd00:ec2::254",
            "fd20:ce::254",
            "::ffff:169.254.169.254",
            "::169.254.169.254",
            "::ffff:0:169.254.169.254",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::169.254.169.254",
            "2002:a9fe:a9fe::1",
            "2001:0:4136:e378:8000:63bf:5601:5601",
        ] {
            assert_eq!(judge(AddressRules::configured(), text), Err(Blocked::Metadata), "{text}");
            assert_eq!(judge(AddressRules::public_only(), text), Err(Blocked::Metadata), "{text}");
        }
    }

    #[test]
    fn configured_targets_may_be_private() {
        for text in ["127.0.0.1", "::1", "10.1.2.3", "192.168.0.1", "169.254.1.1", "fe80::1", "fd00::1", "0.0.0.0"] {
            assert_eq!(judge(AddressRules::configured(), text), Ok(()), "{text}");
        }
    }

    #[test]
    fn public_only_refuses_what_is_not_globally_reachable() {
        for text in [
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "169.254.1.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "2002:808:808::1",
            "3fff::1",
            "fc00::1",
            "fd00::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert_eq!(judge(AddressRules::public_only(), text), Err(Blocked::NotPublic), "{text}");
        }
        for text in ["1.1.1.1", "100.63.0.1", "172.32.0.1", "192.0.1.1", "223.255.255.255", "2606:4700::1111"] {
            assert_eq!(judge(AddressRules::public_only(), text), Ok(()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_ipv6_form_of_an_ipv4_address_is_let_through_as_public(inner in any::<Ipv4Addr>()) {
            let [a, b, c, d] = inner.octets().map(u16::from);
            let (high, low) = (a << 8 | b, c << 8 | d);
            for form in [
                inner.to_ipv6_mapped(),
                inner.to_ipv6_compatible(),
                Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, high, low),
                Ipv6Addr::new(0x2002, high, low, 0, 0, 0, 0, 1),
                Ipv6Addr::new(0x2001, 0, 1, 2, 3, 4, !high, !low),
            ] {
                prop_assert!(AddressRules::public_only().judge(form.into()).is_err(), "{}", form);
                prop_assert_eq!(carried(form), Some(inner));
            }
        }
    }
}
