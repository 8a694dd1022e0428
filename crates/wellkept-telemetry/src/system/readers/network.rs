//! What has passed through the interfaces that this process can see.

use super::{Buffer, Figures, Kept, Reader, ReadingError, SystemRoot, has_room};
use crate::system::figures::{DeviceName, Interface, Traffic};
use crate::system::kept::SUBSTITUTE;

/// The near ends of containers' and virtual machines' interfaces: a busy machine has hundreds, which come and go, and
/// what passes through them passes through the machine's own too.
const ENDS: [&str; 5] = ["veth", "cali", "lxc", "vnet", "tap"];

pub(super) struct NetworkReader {
    interfaces: Kept,
}

impl NetworkReader {
    pub(super) fn new(root: &SystemRoot) -> Self {
        Self { interfaces: Kept::new(root.proc("self/net/dev")) }
    }
}

impl Reader for NetworkReader {
    fn read(&mut self, buffer: &mut Buffer, figures: &mut Figures) -> Result<(), ReadingError> {
        let mut interfaces = match std::mem::take(figures) {
            Figures::Interfaces(interfaces) => interfaces,
            _ => Vec::new(),
        };
        interfaces.clear();
        for interface in self.interfaces.read(buffer)?.lines().filter_map(interface) {
            if has_room(&interfaces) {
                interfaces.push(interface);
            }
        }
        *figures = Figures::Interfaces(interfaces);
        Ok(())
    }
}

/// `  eth0: bytes packets errs drop fifo frame compressed multicast bytes packets errs drop …`
fn interface(line: &str) -> Option<Interface> {
    // A name may hold a colon; the numbers hold none.
    let (name, counts) = line.rsplit_once(':')?;
    let name = name.trim();
    // Two that are no text might look the same.
    let is_strange = name.bytes().any(|byte| byte == SUBSTITUTE);
    if is_strange || ENDS.iter().any(|end| name.starts_with(end)) {
        return None;
    }
    let mut counts = counts.split_whitespace().map_while(|word| word.parse().ok());
    let received = traffic(&mut counts)?;
    // Of what is received there are four more counts.
    let sent = traffic(&mut counts.skip(4))?;
    Some(Interface { name: DeviceName::new(name), received, sent })
}

fn traffic(counts: &mut impl Iterator<Item = u64>) -> Option<Traffic> {
    let [bytes, packets, errors, dropped] = [counts.next()?, counts.next()?, counts.next()?, counts.next()?];
    Some(Traffic { bytes, packets, errors, dropped })
}
