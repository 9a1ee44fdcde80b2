-- Remove all trackers of a process.
-- KEYS[1]  hash        step -> "<version> <token> <attempt> <record>"
-- KEYS[2]  sorted set  "<process>|<step>" -> deadline, epoch ms
-- KEYS[3]  sorted set  "<process>|<attempt>|<step>" -> end of lease, epoch ms
-- KEYS[4]  list        the log of the process's steps
-- KEYS[5]  hash        step -> stored message
-- KEYS[6]  hash        step -> when its copy is due, epoch ms
-- KEYS[7]  sorted set  process -> when the first of its copies is due, epoch ms
-- ARGV[1]  process
-- Returns  how many there were

local trackers = redis.call('HGETALL', KEYS[1])
redis.call('ZCARD', KEYS[2])
redis.call('ZCARD', KEYS[3])
redis.call('ZCARD', KEYS[7])
-- Nothing is begun that the user may not do to its end. Redis before 7 cannot say.
local may = redis.acl_check_cmd
if may and not (may('ZREM', KEYS[2], '') and may('DEL', KEYS[1])) then
  return redis.error_reply('NOPERM the user of the store may not use every command that is needed')
end

for i = 1, #trackers, 2 do
  local attempt = string.match(trackers[i + 1], '^%d+ %x+ (%d+) ') or ''
  redis.call('ZREM', KEYS[2], ARGV[1] .. '|' .. trackers[i])
  redis.call('ZREM', KEYS[3], ARGV[1] .. '|' .. attempt .. '|' .. trackers[i])
end
redis.call('ZREM', KEYS[7], ARGV[1])
redis.call('DEL', KEYS[4], KEYS[5], KEYS[6], KEYS[1])
return #trackers / 2
