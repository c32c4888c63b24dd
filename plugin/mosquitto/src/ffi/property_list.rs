//! The properties of a message in the broker, whose layout is private there and proved at start.
//!
//! It decides nothing: [`crate::properties`] does.

#![expect(unsafe_code, reason = "the boundary to C, see ffi.rs")]

use std::ffi::CStr;

use super::abi::{ERR_SUCCESS, Node, Text, USER_PROPERTY, slice};
use super::broker::Broker;
use crate::properties::PropertyList;

/// A list of properties of the broker, for the time of one callback.
pub(super) struct BrokerProperties<'a> {
    pub(super) broker: Broker,
    pub(super) head: &'a mut *mut Node,
}

/// The user properties of a list.
struct Pairs<'a> {
    next: *const Node,
    list: std::marker::PhantomData<&'a Node>,
}

impl Pairs<'_> {
    /// # Safety
    /// `head` is null or a list of the broker that does not change while the iterator lives.
    unsafe fn new(head: *const Node) -> Self {
        Self { next: head, list: std::marker::PhantomData }
    }
}

impl<'a> Iterator for Pairs<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // SAFETY: as promised to `new`.
            let node = unsafe { self.next.as_ref() }?;
            self.next = node.next;
            if node.identifier == USER_PROPERTY {
                // SAFETY: the texts of a node live as long as the node.
                return Some(unsafe { (node.name.bytes(), node.value.bytes()) });
            }
        }
    }
}

impl Text {
    /// # Safety
    /// The text belongs to a node that lives as long as the result.
    unsafe fn bytes<'a>(&self) -> &'a [u8] {
        // SAFETY: as the caller promises.
        unsafe { slice(self.start.cast(), usize::from(self.len)) }
    }
}

impl PropertyList for BrokerProperties<'_> {
    fn has_reserved(&self) -> bool {
        // SAFETY: the list is the event's, and does not change while the iterator lives.
        let mut pairs = unsafe { Pairs::new(*self.head) };
        pairs.any(|(name, _)| sluice_shared::proof::is_reserved(name))
    }

    /// Removes the reserved properties behind the first property. The pointer to the first one must not
    /// change: some versions of the broker free what it pointed to, and others do not.
    fn strip_tail(&mut self) -> usize {
        let mut stripped = 0;
        // SAFETY: the list is the event's, and nothing else uses it during the callback. Each node is
        // unlinked before it is freed, with the function that belongs to the broker's allocator.
        unsafe {
            let mut before = *self.head;
            while let Some(node) = before.as_mut() {
                let next = node.next;
                let Some(following) = next.as_ref() else { break };
                if following.is_reserved() {
                    node.next = following.next;
                    (self.broker.free)(following.name.start.cast());
                    (self.broker.free)(following.value.start.cast());
                    (self.broker.free)(next.cast());
                    stripped += 1;
                } else {
                    before = next;
                }
            }
        }
        stripped
    }

    fn is_head_reserved(&self) -> bool {
        // SAFETY: the list is the event's.
        unsafe { self.head.as_ref() }.is_some_and(Node::is_reserved)
    }

    fn set_head(&mut self, name: &CStr, value_with_nul: &[u8]) -> bool {
        let Some((0, value)) = value_with_nul.split_last() else { return false };
        // SAFETY: the list is the event's. Both texts end with NUL, and both copies exist before the texts
        // of the node are freed. A copy that ended at an earlier NUL would be shorter than its length says,
        // so there must be none.
        unsafe {
            let Some(node) = self.head.as_mut() else { return false };
            if value.contains(&0) {
                return false;
            }
            let texts = [name.as_ptr(), value_with_nul.as_ptr().cast()];
            let new = texts.map(|text| (self.broker.strdup)(text));
            if new.iter().any(|text| text.is_null()) {
                return false;
            }
            for (text, (start, content)) in [&mut node.name, &mut node.value]
                .into_iter()
                .zip(new.into_iter().zip([name.to_bytes(), value]))
            {
                (self.broker.free)(text.start.cast());
                text.start = start;
                text.len = u16::try_from(content.len()).unwrap_or_default();
            }
        }
        true
    }

    fn add(&mut self, name: &CStr, value_with_nul: &[u8]) -> bool {
        if value_with_nul.last() != Some(&0) {
            return false;
        }
        let value = value_with_nul.as_ptr().cast();
        // SAFETY: the list is the event's or null, and both texts end with NUL. The broker copies them.
        let added = unsafe {
            (self.broker.add_string_pair)(self.head, USER_PROPERTY, name.as_ptr(), value)
        };
        added == ERR_SUCCESS
    }
}

impl Node {
    fn is_reserved(&self) -> bool {
        // SAFETY: the text lives as long as the node.
        self.identifier == USER_PROPERTY
            && sluice_shared::proof::is_reserved(unsafe { self.name.bytes() })
    }
}

/// Builds two known properties with the broker's own functions, and reads them by the layout that this
/// file assumes.
pub(super) fn check_layout(broker: &Broker) -> Result<(), String> {
    let mut head = std::ptr::null_mut();
    for (name, value) in [(c"probe-name", c"probe-value"), (c"second", c"")] {
        // SAFETY: `head` is a list of the broker or null, and the strings end with NUL.
        let added = unsafe {
            (broker.add_string_pair)(&raw mut head, USER_PROPERTY, name.as_ptr(), value.as_ptr())
        };
        if added != ERR_SUCCESS {
            return Err("the broker makes no user properties".to_owned());
        }
    }
    // The first check comes before any pointer of the node is followed.
    // SAFETY: the broker made `head`; an allocation of at least the size of `Node` is its first property.
    let is_first = unsafe { (*head).identifier == USER_PROPERTY && (*head).name.len == 10 };
    let is_expected = is_first && {
        // SAFETY: the list ends with null, and is not changed meanwhile.
        let mut pairs = unsafe { Pairs::new(head) };
        pairs.next() == Some((b"probe-name".as_slice(), b"probe-value".as_slice()))
            && pairs.next() == Some((b"second".as_slice(), b"".as_slice()))
            && pairs.next().is_none()
    };
    // SAFETY: the list is the broker's, and is not used afterwards.
    unsafe { (broker.free_all)(&raw mut head) };
    if is_expected {
        Ok(())
    } else {
        Err("the properties of this broker have an unknown layout: use Mosquitto 2.0.11 to 2.1"
            .to_owned())
    }
}
