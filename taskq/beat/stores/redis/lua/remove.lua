-- Deletes entries.
--
-- KEYS[1], [2]  the definitions, the states
-- KEYS[3]       counts the edits
-- ARGV[1]       the number of the first edit
-- then          their names
-- Returns       how many were there.
local removed = 0
for at = 2, #ARGV do
  redis.call('HDEL', KEYS[1], ARGV[at])
  removed = removed + redis.call('HDEL', KEYS[2], ARGV[at])
end
count_edit(KEYS[3], ARGV[1])
return removed
