-- Enables, disables or resets one entry.
--
-- KEYS[1]  the states
-- KEYS[2]  counts the edits
-- ARGV[1]  the number of the first edit
-- ARGV[2]  its name
-- ARGV[3]  enable, disable or reset
-- ARGV[4]  enable, reset: the next due time
-- ARGV[5]  reset: the due time that it must have
-- Returns 1 if it is there (reset: if it had that due time).
local state = state_of(KEYS[1], ARGV[2])
if not state then
  return 0
end
if ARGV[3] == 'disable' then
  state[ENABLED] = false
elseif ARGV[3] == 'enable' then
  if not state[ENABLED] then
    state[ENABLED], state[DUE] = true, ARGV[4] + 0
  end
elseif state[DUE] == ARGV[5] + 0 then
  state[DUE], state[LAST_DUE] = ARGV[4] + 0, -1
else
  return 0
end
keep_state(KEYS[1], ARGV[2], state)
count_edit(KEYS[2], ARGV[1])
return 1
