//! Blocks by size.

/// Powers of two, up to the largest address space.
const CLASSES: usize = 57;

/// Blocks of similar size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SizeClass {
    /// Blocks.
    pub blocks: u64,
    /// Bytes that the program may use of them.
    pub bytes: u64,
}

/// Blocks by the power of two that their size does not exceed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SizeClasses([SizeClass; CLASSES]);

impl Default for SizeClasses {
    fn default() -> Self {
        Self([SizeClass::default(); CLASSES])
    }
}

impl SizeClasses {
    /// One block more.
    pub fn add(&mut self, usable: u64) {
        let class = self.class(usable);
        class.blocks += 1;
        class.bytes = class.bytes.saturating_add(usable);
    }

    /// One block less.
    pub fn remove(&mut self, usable: u64) {
        let class = self.class(usable);
        class.blocks = class.blocks.saturating_sub(1);
        class.bytes = class.bytes.saturating_sub(usable);
    }

    fn class(&mut self, usable: u64) -> &mut SizeClass {
        let power = usable.max(1).checked_next_power_of_two().map_or(CLASSES, |power| power.ilog2() as usize);
        let [first, others @ ..] = &mut self.0;
        match power.min(CLASSES - 1).checked_sub(1).and_then(|index| others.get_mut(index)) {
            Some(class) => class,
            None => first,
        }
    }

    /// Classes that have blocks: the most bytes that a block of the class has, and the class.
    pub fn iter(&self) -> impl Iterator<Item = (u64, SizeClass)> + '_ {
        let classes = self.0.iter().enumerate().filter(|(_, class)| class.blocks > 0);
        classes.map(|(power, class)| (1 << power, *class))
    }
}
