//! Constants: literals, option values, params.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use crate::expr::Expr;
use crate::schema::Stream;
use crate::types::{Type, Unit};
use crate::units;

/// A network: addresses whose first `prefix` bits equal those of `base`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cidr {
    /// 16 bytes, IPv4 mapped.
    pub base: [u8; 16],
    /// Counted over the 16 bytes, so an IPv4 `/8` is 104.
    pub prefix: u8,
}

impl Cidr {
    /// Reads `10.0.0.0/8`, `2001:db8::/32`, or one address.
    pub fn parse(text: &str) -> Option<Cidr> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let ip: IpAddr = address.parse().ok()?;
        let (width, offset) = if ip.is_ipv4() { (32, 96) } else { (128, 0) };
        let bits: u8 = match bits {
            Some(bits) if bits.bytes().all(|b| b.is_ascii_digit()) => bits.parse().ok()?,
            Some(_) => return None,
            None => width,
        };
        (bits <= width).then(|| Cidr { base: ip_bytes(ip), prefix: bits + offset })
    }

    pub fn contains(&self, ip: &[u8; 16]) -> bool {
        u128::from_be_bytes(*ip) & mask(self.prefix) == self.first()
    }

    /// Its first address, as a number.
    pub fn first(&self) -> u128 {
        u128::from_be_bytes(self.base) & mask(self.prefix)
    }

    /// Its last one.
    pub fn last(&self) -> u128 {
        self.first() | !mask(self.prefix)
    }
}

/// The bits of an address that a prefix of so many leaves.
pub fn mask(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let offset = if ip_of(&self.base).is_ipv4() && self.prefix >= 96 { 96 } else { 0 };
        write!(f, "{}/{}", ip_of(&self.base), self.prefix - offset)
    }
}

/// 16 bytes, IPv4 mapped, as columns hold addresses.
pub fn ip_bytes(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

/// The address that 16 bytes of a column stand for.
pub fn ip_of(bytes: &[u8; 16]) -> IpAddr {
    let v6 = Ipv6Addr::from(*bytes);
    match v6.to_ipv4_mapped() {
        Some(v4) => IpAddr::V4(v4),
        None => IpAddr::V6(v6),
    }
}

/// `1.2.3.4` as columns hold it.
pub const fn ipv4(octets: [u8; 4]) -> [u8; 16] {
    Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]).to_ipv6_mapped().octets()
}

/// A secret's place; its text is read when the sink that needs it starts, and never printed.
#[derive(Clone, PartialEq, Debug)]
pub struct Secret(pub String);

/// A constant.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    /// `none`: a limit switched off, or nothing given.
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// Nanoseconds.
    Duration(i64),
    /// Bytes.
    Size(i64),
    /// Bytes a second.
    ByteRate(f64),
    Rate(f64),
    Percent(f64),
    Str(String),
    Ip([u8; 16]),
    Cidr(Cidr),
    /// Nanoseconds since the epoch.
    Time(i64),
    Secret(Secret),
    /// One of an option's words.
    Word(String),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
    /// An option that varies by row, or names columns.
    Expr(Arc<Expr>),
    /// What `as:` declares.
    Stream(Arc<Stream>),
    Part(Arc<Part>),
}

/// A part of a component, with its options.
#[derive(Clone, PartialEq, Debug)]
pub struct Part {
    pub name: &'static str,
    pub values: Values,
}

impl Value {
    pub fn ty(&self) -> Type {
        match self {
            Value::Bool(_) => Type::Bool,
            Value::Int(_) => Type::INT,
            Value::Float(_) | Value::Percent(_) => Type::FLOAT,
            Value::Duration(_) => Type::DURATION,
            Value::Size(_) => Type::SIZE,
            Value::ByteRate(_) => Type::BYTE_RATE,
            Value::Rate(_) => Type::RATE,
            Value::Str(_) | Value::Word(_) => Type::Str,
            Value::Ip(_) => Type::Ip,
            Value::Cidr(_) => Type::Cidr,
            Value::Time(_) => Type::Time,
            Value::Secret(_) => Type::Secret,
            Value::List(items) => Type::list(&items.first().map_or(Type::Unknown, |first| first.ty())),
            Value::Expr(expr) => expr.ty.clone(),
            Value::None | Value::Map(_) | Value::Stream(_) | Value::Part(_) => Type::Unknown,
        }
    }

    /// The number behind it, in its base unit (nanoseconds, bytes, one).
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Value::Int(n) | Value::Duration(n) | Value::Size(n) => Some(*n as f64),
            Value::Float(x) | Value::ByteRate(x) | Value::Rate(x) | Value::Percent(x) => Some(*x),
            _ => None,
        }
    }

    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(n) | Value::Duration(n) | Value::Size(n) | Value::Time(n) => Some(*n),
            _ => None,
        }
    }

    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) | Value::Word(text) => Some(text),
            _ => None,
        }
    }

    /// The value as a list: a single value stands for a list of one.
    pub fn items(&self) -> &[Value] {
        match self {
            Value::List(items) => items,
            Value::None => &[],
            one => std::slice::from_ref(one),
        }
    }

    /// The number `x` of type `ty`.
    pub fn number(x: f64, ty: &Type) -> Value {
        match ty {
            Type::Number { unit: Unit::Nanos, .. } => Value::Duration(x.round() as i64),
            Type::Number { unit: Unit::Bytes, float: false } => Value::Size(x.round() as i64),
            Type::Number { unit: Unit::BytesPerSecond, .. } => Value::ByteRate(x),
            Type::Number { unit: Unit::PerSecond, .. } => Value::Rate(x),
            Type::Number { float: false, .. } => Value::Int(x.round() as i64),
            _ => Value::Float(x),
        }
    }
}

/// As the language writes it.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::None => f.write_str("none"),
            Value::Bool(b) => write!(f, "{b}"),
            Value::Int(n) => write!(f, "{n}"),
            Value::Float(x) => write!(f, "{x:?}"),
            Value::Duration(n) => f.write_str(&units::duration(*n)),
            Value::Size(n) => f.write_str(&units::size(*n)),
            Value::ByteRate(x) => write!(f, "{}/s", units::size(*x as i64)),
            Value::Rate(x) => write!(f, "{x}/s"),
            Value::Percent(x) => write!(f, "{}%", x * 100.0),
            Value::Str(text) => write!(f, "{text:?}"),
            Value::Word(text) => f.write_str(text),
            Value::Ip(ip) => write!(f, "{}", ip_of(ip)),
            Value::Cidr(cidr) => write!(f, "{cidr}"),
            Value::Time(t) => write!(f, "{:?}", units::time(*t)),
            Value::Secret(_) => f.write_str("secret(…)"),
            Value::List(items) => {
                let items: Vec<_> = items.iter().map(Value::to_string).collect();
                write!(f, "[{}]", items.join(", "))
            }
            Value::Map(entries) => {
                let entries: Vec<_> = entries.iter().map(|(k, v)| format!("{k}: {v}")).collect();
                write!(f, "{{ {} }}", entries.join(", "))
            }
            Value::Expr(expr) => write!(f, "{expr}"),
            Value::Stream(stream) => f.write_str(stream.row.name()),
            Value::Part(part) => {
                let given = part.values.iter().filter(|(_, value)| **value != Value::None);
                let given: Vec<_> = given.map(|(name, value)| format!("{name}: {value}")).collect();
                write!(f, "{}({})", part.name, given.join(", "))
            }
        }
    }
}

/// A component's options by name, defaults filled in.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Values(BTreeMap<&'static str, Value>);

impl Values {
    pub fn get(&self, name: &str) -> &Value {
        self.0.get(name).unwrap_or(&Value::None)
    }

    pub fn set(&mut self, name: &'static str, value: Value) {
        self.0.insert(name, value);
    }

    pub fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        self.0.iter().map(|(name, value)| (*name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_contain_their_addresses() {
        let ten = Cidr::parse("10.0.0.0/8").unwrap();
        assert!(ten.contains(&ipv4([10, 255, 0, 1])));
        assert!(!ten.contains(&ipv4([11, 0, 0, 1])));
        assert!(Cidr::parse("::/0").unwrap().contains(&ipv4([1, 2, 3, 4])));
        assert_eq!(ten.to_string(), "10.0.0.0/8");
        assert_eq!(Cidr::parse("2001:db8::/32").unwrap().to_string(), "2001:db8::/32");
        assert_eq!(Cidr::parse("10.0.0.0/33"), None);
        assert_eq!(Cidr::parse("10.0.0.0/-1"), None);
        assert_eq!(Cidr::parse("host/8"), None);
    }
}
