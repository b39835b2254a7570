//! Addresses of names as one core knows them. The look-up itself runs on the control thread (`resolve`); nothing here
//! blocks, and requests for one name wait for one question.

use crate::limits;
use crate::mailbox::{Answer, Up};
use crate::proxy::core::Core;
use hashbrown::HashMap;
use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Instant;

#[derive(Default)]
pub struct Names {
    known: RefCell<HashMap<Arc<str>, Entry, ahash::RandomState>>,
}

#[derive(Default)]
struct Entry {
    answer: Option<Known>,
    asked: bool,
    waiting: Vec<Waker>,
}

struct Known {
    addresses: Rc<[(IpAddr, Option<u16>)]>,
    expires: Instant,
    error: Option<Arc<str>>,
    /// Where the next request begins: addresses of one name share the load.
    turn: usize,
}

/// Addresses to try, in this order.
pub struct Addresses {
    all: Rc<[(IpAddr, Option<u16>)]>,
    first: usize,
}

impl Addresses {
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, Option<u16>)> + '_ {
        let count = self.all.len();
        (0..count.min(limits::ADDRESSES_MAX))
            .filter_map(move |step| self.all.get((self.first + step) % count).copied())
    }
}

/// Why a name has no address.
#[derive(Debug)]
pub struct Unresolved(pub Arc<str>);

impl Names {
    /// The answer of the control thread; wakes every request that waits for the name.
    pub fn answered(&self, name: &str, answer: &Answer) {
        let mut known = self.known.borrow_mut();
        if let Some(entry) = known.get_mut(name) {
            let turn = entry.answer.as_ref().map_or(0, |old| old.turn);
            entry.answer = Some(Known {
                addresses: answer.addresses.clone().into(),
                expires: answer.expires,
                error: answer.error.clone(),
                turn,
            });
            entry.asked = false;
            for waker in entry.waiting.drain(..) {
                waker.wake();
            }
        }
    }
}

/// The addresses of `name`, from this core's memory while they are fresh, else from the control thread.
pub async fn resolve(core: &Core, name: &Arc<str>) -> Result<Addresses, Unresolved> {
    let mut asked_here = false;
    std::future::poll_fn(|context| {
        let mut known = core.names.known.borrow_mut();
        if !known.contains_key(name) {
            if known.len() >= limits::NAMES_MAX {
                known.retain(|_, entry| entry.asked || !entry.waiting.is_empty());
            }
            known.insert(name.clone(), Entry::default());
        }
        let Some(entry) = known.get_mut(name) else {
            return Poll::Ready(Err(Unresolved("name table is full".into())));
        };
        if let Some(answer) = &mut entry.answer {
            // An answer that this request asked for is good for it even when it expires at once.
            if answer.expires > Instant::now() || (asked_here && !entry.asked) {
                if let Some(error) = &answer.error
                    && answer.addresses.is_empty()
                {
                    return Poll::Ready(Err(Unresolved(error.clone())));
                }
                let first = answer.turn;
                answer.turn = answer.turn.wrapping_add(1);
                if answer.addresses.is_empty() {
                    return Poll::Ready(Err(Unresolved("no address".into())));
                }
                return Poll::Ready(Ok(Addresses {
                    all: answer.addresses.clone(),
                    first,
                }));
            }
        }
        if !entry.asked {
            if !core.up.send(Up::Resolve {
                core: core.index,
                name: name.clone(),
            }) {
                return Poll::Ready(Err(Unresolved("too many look-ups wait".into())));
            }
            entry.asked = true;
        }
        asked_here = true;
        if entry
            .waiting
            .iter()
            .all(|waker| !waker.will_wake(context.waker()))
        {
            entry.waiting.push(context.waker().clone());
        }
        Poll::Pending
    })
    .await
}
