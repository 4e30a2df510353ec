-- Writes entries that are not there, or have another revision.
--
-- KEYS[1], [2]  the definitions, the states
-- KEYS[3]       counts the edits
-- ARGV[1]       the number of the first edit
-- then          for each entry: name, definition, revision, and a whole state
for at = 2, #ARGV, 4 do
  local name, definition, revision, fresh = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
  local state = state_of(KEYS[2], name)
  if not state then
    redis.call('HSET', KEYS[1], name, definition)
    redis.call('HSET', KEYS[2], name, fresh)
  elseif state[REVISION] ~= revision then
    redis.call('HSET', KEYS[1], name, definition)
    state[REVISION], state[DUE] = revision, cmsgpack.unpack(fresh)[DUE]
    keep_state(KEYS[2], name, state)
  end
end
count_edit(KEYS[3], ARGV[1])
