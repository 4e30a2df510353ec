-- Claims the sending of a chord's body, against Celery's workers.
--
-- KEYS[1]  who sends it (Celery's .c)
-- ARGV[1]  the claimant, who may claim it again
-- ARGV[2]  seconds for which it is claimed
-- Returns 1 if it is claimed, 0 if the body has been sent, -1 if another one is sending it.
local holder = redis.call('GET', KEYS[1])
if holder == 'done' then
  return 0
end
if holder and holder ~= ARGV[1] then
  return -1
end
redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
return 1
