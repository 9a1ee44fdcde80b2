-- Take out that copies of steps are due, of each step that nobody wrote since.
-- KEYS[1]  hash        step -> "<version> <token> <attempt> <record>"
-- KEYS[2]  hash        step -> when its copy is due, epoch ms
-- KEYS[3]  sorted set  process -> when the first of its copies is due, epoch ms
-- ARGV[1]  process     ARGV[2…] pairs of step and version
-- Returns  how many were taken out

redis.call('HLEN', KEYS[2])
redis.call('ZCARD', KEYS[3])
-- Nothing is begun that the user may not do to its end. Redis before 7 cannot say.
local may = redis.acl_check_cmd
if may and not (may('HDEL', KEYS[2], '') and may('ZREM', KEYS[3], '')) then
  return redis.error_reply('NOPERM the user of the store may not use every command that is needed')
end

local count = 0
for i = 2, #ARGV, 2 do
  local current = redis.call('HGET', KEYS[1], ARGV[i])
  if current and string.match(current, '^%d+') == ARGV[i + 1] then
    count = count + redis.call('HDEL', KEYS[2], ARGV[i])
  end
end
if redis.call('HLEN', KEYS[2]) == 0 then
  redis.call('ZREM', KEYS[3], ARGV[1])
end
return count
