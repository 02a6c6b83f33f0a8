//! A queue in which owners take turns: an owner with many items delays its own items, not those of other owners. Pure;
//! it reads no clock and does not look into the items.

use std::collections::{BTreeMap, HashMap, VecDeque};

/// Items of owners. The item with the lowest ticket is the owner's first.
#[derive(Debug)]
pub struct FairQueue<T> {
    owners: HashMap<Box<str>, BTreeMap<u64, T>>,
    /// The owners that have items, in the order of their turns.
    turns: VecDeque<Box<str>>,
    len: usize,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self {
            owners: HashMap::new(),
            turns: VecDeque::new(),
            len: 0,
        }
    }
}

impl<T> FairQueue<T> {
    /// Adds an item. An owner without items gets the last turn.
    pub fn push(&mut self, owner: &str, ticket: u64, item: T) {
        let turns = &mut self.turns;
        let items = self.owners.entry(owner.into()).or_insert_with_key(|owner| {
            turns.push_back(owner.clone());
            BTreeMap::new()
        });
        self.len += usize::from(items.insert(ticket, item).is_none());
    }

    /// Puts back an item that was taken out too early. Its owner has the next turn again.
    pub fn push_first(&mut self, owner: &str, ticket: u64, item: T) {
        self.push(owner, ticket, item);
        self.turns.retain(|other| **other != *owner);
        self.turns.push_front(owner.into());
    }

    /// Removes this item, wherever it is.
    pub fn remove(&mut self, owner: &str, ticket: u64) -> Option<T> {
        let items = self.owners.get_mut(owner)?;
        let item = items.remove(&ticket)?;
        if items.is_empty() {
            self.owners.remove(owner);
            self.turns.retain(|other| **other != *owner);
        }
        self.len -= 1;
        Some(item)
    }

    /// Returns the next item.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.owners.get(self.turns.front()?)?.values().next()
    }

    /// Takes the next item out. Its owner's next turn comes after the turns of all others.
    pub fn pop(&mut self) -> Option<T> {
        let owner = self.turns.pop_front()?;
        let items = self.owners.get_mut(&owner)?;
        let (_, item) = items.pop_first()?;
        if items.is_empty() {
            self.owners.remove(&owner);
        } else {
            self.turns.push_back(owner);
        }
        self.len -= 1;
        Some(item)
    }

    /// Returns the number of items.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no items.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Owners and tickets.
    type Items = &'static [(&'static str, u64)];

    /// Makes a queue of these items. Each item is the name of its owner and its ticket.
    fn queue(items: &[(&str, u64)]) -> FairQueue<String> {
        let mut queue = FairQueue::default();
        for (owner, ticket) in items {
            queue.push(owner, *ticket, format!("{owner}{ticket}"));
        }
        queue
    }

    fn all(queue: &mut FairQueue<String>) -> Vec<String> {
        std::iter::from_fn(|| {
            let first = queue.first().cloned();
            let item = queue.pop();
            assert_eq!(first, item);
            item
        })
        .collect()
    }

    #[test]
    fn owners_take_turns_and_each_ones_items_come_in_their_order() {
        let table: [(&str, Items, &[&str]); 4] = [
            ("one owner", &[("a", 2), ("a", 1), ("a", 3)], &["a1", "a2", "a3"]),
            (
                "much and little",
                &[("a", 1), ("a", 2), ("a", 3), ("b", 4)],
                &["a1", "b4", "a2", "a3"],
            ),
            (
                "three",
                &[("c", 1), ("a", 2), ("b", 3), ("a", 4), ("c", 5)],
                &["c1", "a2", "b3", "c5", "a4"],
            ),
            ("nobody", &[], &[]),
        ];
        for (why, items, order) in table {
            let mut queue = queue(items);
            assert_eq!(
                (queue.len(), queue.is_empty()),
                (items.len(), items.is_empty()),
                "{why}"
            );
            assert_eq!(all(&mut queue), order, "{why}");
            assert!(
                queue.is_empty() && queue.owners.is_empty() && queue.turns.is_empty(),
                "{why}"
            );
        }
    }

    #[test]
    fn who_comes_while_others_take_turns_has_the_last_one_and_not_the_last_item() {
        let mut queue = queue(&[("a", 1), ("a", 2), ("a", 3), ("b", 4), ("b", 5)]);
        assert_eq!(queue.pop().as_deref(), Some("a1"));
        queue.push("c", 6, "c6".to_owned());
        assert_eq!(all(&mut queue), ["b4", "a2", "c6", "b5", "a3"]);
    }

    #[test]
    fn what_is_taken_out_of_the_midst_leaves_the_others_where_they_stand() {
        let mut queue = queue(&[("a", 1), ("b", 2), ("b", 3), ("c", 4)]);
        assert_eq!(queue.remove("a", 1).as_deref(), Some("a1"));
        assert_eq!(queue.remove("b", 2).as_deref(), Some("b2"));
        for (owner, ticket) in [("a", 1), ("b", 2), ("b", 4), ("nobody", 4)] {
            assert_eq!(queue.remove(owner, ticket), None);
        }
        assert_eq!(queue.len(), 2);
        assert_eq!(all(&mut queue), ["b3", "c4"]);
    }

    #[test]
    fn what_is_put_back_is_next_whoever_waits() {
        let mut queue = queue(&[("a", 1), ("b", 2), ("b", 3), ("c", 4)]);
        let early = queue.remove("b", 2).expect("it is there");
        queue.push_first("b", 2, early);
        assert_eq!(all(&mut queue), ["b2", "a1", "c4", "b3"]);
        queue.push_first("d", 5, "d5".to_owned());
        assert_eq!(all(&mut queue), ["d5"]);
    }

    #[test]
    fn the_same_ticket_again_is_the_same_item() {
        let mut queue = queue(&[("a", 1), ("a", 1)]);
        assert_eq!(queue.len(), 1);
        assert_eq!(all(&mut queue), ["a1"]);
    }
}
